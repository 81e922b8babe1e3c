"""Everything a user hands in (params file, YAML, options, data-set files), parsed and checked."""
