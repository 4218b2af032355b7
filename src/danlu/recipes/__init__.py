"""What each verb does, a room for each kind of work."""
