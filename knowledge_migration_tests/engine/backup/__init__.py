"""The verified backup."""
