"""DCGAN (Radford, Metz and Chintala, 2016), the baseline without growing."""
