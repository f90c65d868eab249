"""What Jetpost's processes share: the words of mail, the queue, configuration and the command line."""
