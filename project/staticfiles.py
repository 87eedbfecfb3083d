"""Static files in production: each has a name that changes with its content, modules too."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Lets the project's modules import each other by those names. Others' scripts have none."""

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("files/*.js", [(r"""(?P<matched>from "(?P<url>\./[^"]+)")""", 'from "%(url)s"')]),
    )
