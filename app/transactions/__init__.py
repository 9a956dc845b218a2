"""Order to signed transaction: venues price, the builder builds, the wallet signs."""
