"""The command line: `affect serve | analyze | watch | plugins | doctor | bench`."""
