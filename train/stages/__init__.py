"""The stages of training, and what each of them needs."""
