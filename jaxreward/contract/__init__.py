"""What is asked of environments, rewards, agents and sizes that users bring, looked at before anything compiles."""
