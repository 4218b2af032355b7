"""What all verbs share: how they are called, the folder of a run, how a run is performed in one process or several."""
