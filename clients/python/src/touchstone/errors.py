"""The errors that need no server."""


class TouchstoneError(Exception):
    """Base of all errors of this package."""


class UnknownName(TouchstoneError):
    """No experiment, arm, target or other thing has the name that was given."""


class UnknownStep(UnknownName):
    """What was typed is not the beginning of one step's id."""


class NotExported(TouchstoneError):
    """A training set could not be written into a folder; says why."""


class UnreadableImage(TouchstoneError):
    """An image cannot be searched for: there is none, or it is too large."""
