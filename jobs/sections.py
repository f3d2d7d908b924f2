"""Help of commands that have many options, in sections."""

import click

SECTIONS = {  # options by the names that the command gets; all others come last
    "What is done": (
        *("manifest", "include", "exclude", "limit", "follow_links", "pages", "recolor"),
        *(
            "retry_failed",
            "reasons",
            "selection",
            "series",
            "max_failed",
            "dry_run",
            "price_per_hour",
        ),
        "update",
    ),
    "How pictures look": (
        *("model", "weights", "method", "candidates", "rank_by", "seed", "temperature"),
        "saturation",
        *("hints", "palette", "upsampler", "precision"),
    ),
    "Where pictures go": ("format", "output_size", "shard_size", "single_writer"),
    "Machine and cluster": (
        *("device", "batch_size", "actors", "gpus_per_actor", "address", "follow"),
    ),
    "Provenance": (
        *("digital_source_type", "mark", "watermark", "sidecar"),
        *("c2pa_certificate", "c2pa_key", "c2pa_timestamp"),
    ),
}


class SectionedCommand(click.Command):
    """A command whose help lists options by what they are for, not in the order of declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = {each.name: each for each in self.get_params(ctx) if isinstance(each, click.Option)}
        sections = {
            title: [left.pop(name) for name in names if name in left]
            for title, names in SECTIONS.items()
        }
        for title, options in {**sections, "Other options": list(left.values())}.items():
            records = [each.get_help_record(ctx) for each in options]
            shown = [record for record in records if record]  # hidden ones have none
            if shown:
                with formatter.section(title):
                    formatter.write_dl(shown)
