"""What is said of stored settings that this version cannot read."""

from pydantic import ValidationError

from segtool.errors import SegtoolError


def misfit(error: ValidationError, what: str, where: object) -> SegtoolError:
    """One line for what pydantic found.

    Args:
        what: was read, in words; where: the file.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "?"
    if first["type"] == "extra_forbidden":
        said = f"{what} has a field that this segtool does not know, {field}"
        return SegtoolError(said, where=where, mend="a newer segtool wrote it: upgrade")
    if first["type"] == "missing":
        return SegtoolError(f"{what} has no field {field}", where=where, mend="another version of segtool wrote it")
    return SegtoolError(f"damaged {what}, field {field}: {first['msg']}", where=where)
