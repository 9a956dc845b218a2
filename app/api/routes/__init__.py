"""One file for each part of the interface: from a call to an answer."""
