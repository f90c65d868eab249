"""The files of a nats-server: whether it can open them all."""
