"""Where jobs run. An engine is one function, ``map(function, jobs)``: results in order, a failed job is a record."""

TABLE = {"local": "map_jobs"}
