"""Folders listed with the attributes of all that is in them: one request where there would be one for each file."""

# Of libfuse 3: the kernel wants attributes; an entry has them.
_WANTED = 1 << 0
_GIVEN = 1 << 1


def fuse_class(fuse):
    """mfusepy's FUSE, whose own listings hold names only; the same where libfuse 2 is used.

    Parameters
    ----------
    fuse : module
        mfusepy.
    """

    class Fuse(fuse.FUSE):
        def readdir_fuse_3(self, path, buffer, fill, offset, info, flags) -> int:
            entries = self.operations.listing(info.contents.fh, offset, bool(flags & _WANTED))
            for place, (name, attributes, complete) in enumerate(entries, offset + 1):
                status = fuse.c_stat()
                fuse.set_st_attrs(status, attributes, use_ns=True)
                given = _GIVEN if complete else 0
                if fill(buffer, name.encode(self.encoding, self.errors), status, place, given):
                    break  # the kernel asks for the others later
            return 0

    return Fuse
