"""`danlu prompt`: what a frozen model can do when it is asked well."""
