"""Python that uses an exported model: templates of this package, filled in."""

import jinja2


def usage(template: str, **values: object) -> str:
    """Fill in a template; it has a filter `python`, which writes a value as Python does."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tacit", "models"),
        autoescape=False,  # what comes of it is Python
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["python"] = repr
    return environment.get_template(template).render(**values)
