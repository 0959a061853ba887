"""The Discord bot: a front end that submits requests, and shows each in one message until it is the result."""
