"""Submission methods: each pushes stored bytes one way and classifies the reply."""
