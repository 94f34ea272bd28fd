"use strict";
// The interpreter of a generator's operations, and the page around it. MODEL is defined before this script.

const WEIGHTS = new Float32Array(Uint8Array.from(atob(MODEL.weights), (c) => c.charCodeAt(0)).buffer);

// NumPy's RandomState(seed).randn(count): the Mersenne Twister, and normal numbers by the polar method.
class RandomState {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const last = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = (Math.imul(1812433253, last) + i) >>> 0;
    }
    this.next = 624;
    this.spare = null;
  }

  bits() {
    const state = this.state;
    if (this.next === 624) {
      for (let i = 0; i < 624; i++) {
        const mixed = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
      }
      this.next = 0;
    }
    let y = state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  uniform() {
    const high = this.bits() >>> 5, low = this.bits() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  normal() {
    if (this.spare !== null) {
      const value = this.spare;
      this.spare = null;
      return value;
    }
    let x, y, square;
    do {
      x = 2 * this.uniform() - 1;
      y = 2 * this.uniform() - 1;
      square = x * x + y * y;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    this.spare = factor * x;
    return factor * y;
  }
}

function latentOf(seed) {
  const random = new RandomState(seed);
  return Float32Array.from({ length: MODEL.latentSize }, () => random.normal());
}

// Features are {data, height, width, channels}; data is a Float32Array, channels last.
const OPERATIONS = {
  norm(x, op) {
    const { data, channels } = x;
    for (let start = 0; start < data.length; start += channels) {
      let sum = 0;
      for (let c = start; c < start + channels; c++) sum += data[c] * data[c];
      const factor = 1 / Math.sqrt(sum / channels + op.epsilon);
      for (let c = start; c < start + channels; c++) data[c] *= factor;
    }
    return x;
  },

  dense(x, op) {
    const outputs = op.height * op.width * op.channels;
    const sums = new Float64Array(outputs);
    for (let i = 0; i < op.inputs; i++) {
      const value = x.data[i], row = op.kernel + i * outputs;
      for (let o = 0; o < outputs; o++) sums[o] += value * WEIGHTS[row + o];
    }
    return { data: Float32Array.from(sums), height: op.height, width: op.width, channels: op.channels };
  },

  upscale(x) {
    const { height, width, channels } = x;
    const data = new Float32Array(4 * x.data.length);
    for (let row = 0; row < 2 * height; row++) {
      for (let column = 0; column < 2 * width; column++) {
        const from = ((row >> 1) * width + (column >> 1)) * channels;
        data.set(x.data.subarray(from, from + channels), (row * 2 * width + column) * channels);
      }
    }
    return { data, height: 2 * height, width: 2 * width, channels };
  },

  // 3x3, zeros around the features.
  convolve(x, op) {
    const { height, width, channels } = x, features = op.channels;
    const data = new Float32Array(height * width * features);
    const kernel = WEIGHTS.subarray(op.kernel, op.kernel + 9 * channels * features);
    const sums = new Float64Array(features);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        sums.fill(0);
        for (let dy = -1; dy <= 1; dy++) {
          if (row + dy < 0 || row + dy >= height) continue;
          for (let dx = -1; dx <= 1; dx++) {
            if (column + dx < 0 || column + dx >= width) continue;
            const from = ((row + dy) * width + column + dx) * channels;
            let tap = ((dy + 1) * 3 + dx + 1) * channels * features;
            for (let c = 0; c < channels; c++) {
              const value = x.data[from + c];
              for (let f = 0; f < features; f++) sums[f] += value * kernel[tap++];
            }
          }
        }
        data.set(sums, (row * width + column) * features);
      }
    }
    return { data, height, width, channels: features };
  },

  // [1, 2, 1] x [1, 2, 1] / 16, zeros around the features.
  blur(x) {
    const { height, width, channels } = x;
    const pass = (source, step, size, positionOf) => {
      const data = new Float32Array(source.length);
      for (let i = 0; i < source.length; i++) {
        const position = positionOf(i);
        const before = position > 0 ? source[i - step] : 0, after = position < size - 1 ? source[i + step] : 0;
        data[i] = (before + 2 * source[i] + after) / 4;
      }
      return data;
    };
    const rows = pass(x.data, channels, width, (i) => Math.floor(i / channels) % width);
    const data = pass(rows, channels * width, height, (i) => Math.floor(i / (channels * width)));
    return { data, height, width, channels };
  },

  // One per channel, or one per position and channel.
  bias(x, op) {
    for (let i = 0; i < x.data.length; i++) x.data[i] += WEIGHTS[op.bias + (i % op.size)];
    return x;
  },

  relu(x, op) {
    for (let i = 0; i < x.data.length; i++) if (x.data[i] < 0) x.data[i] *= op.slope;
    return x;
  },

  colours(x, op, kept) {
    const { height, width, channels } = x, pixels = height * width;
    const data = new Float32Array(pixels * op.channels);
    for (let pixel = 0; pixel < pixels; pixel++) {
      for (let colour = 0; colour < op.channels; colour++) {
        let sum = 0;
        for (let c = 0; c < channels; c++) {
          sum += x.data[pixel * channels + c] * WEIGHTS[op.kernel + c * op.channels + colour];
        }
        sum += WEIGHTS[op.bias + colour];
        data[pixel * op.channels + colour] = op.tanh ? Math.tanh(sum) : sum;
      }
    }
    const image = { data, height, width, channels: op.channels };
    if (!op.keeps) return image;
    kept.push(image);
    return x;
  },

  fade(x, op, kept) {
    const old = OPERATIONS.upscale(kept.pop());
    for (let i = 0; i < x.data.length; i++) x.data[i] = old.data[i] * (1 - op.alpha) + x.data[i] * op.alpha;
    return x;
  },
};

// Returns {data, height, width, channels} with values 0 to 255. `weights` is one number per class, usually one of them 1.
function draw(latent, weights) {
  const row = new Float32Array(MODEL.latentSize + MODEL.labelSize);
  row.set(latent);
  row.set(weights, MODEL.latentSize);
  let x = { data: row, height: 1, width: 1, channels: row.length };
  const kept = [];
  for (const operation of MODEL.operations) x = OPERATIONS[operation.op](x, operation, kept);
  const data = Uint8ClampedArray.from(x.data, (value) => Math.round(127.5 * value + 127.5));
  return { ...x, data };
}

function classOf(seed) {
  return MODEL.presentClasses.length ? MODEL.presentClasses[seed % MODEL.presentClasses.length] : 0;
}

function oneHot(number) {
  return Float32Array.from({ length: MODEL.labelSize }, (_, i) => (i === number ? 1 : 0));
}

function imageOfSeed(seed, number = classOf(seed)) {
  return draw(latentOf(seed), oneHot(number));
}
