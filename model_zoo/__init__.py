"""The contract between training and serving: the artifact format, its verification, the turns of a patch."""
