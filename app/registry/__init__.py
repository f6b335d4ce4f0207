"""The models: vetting of uploads, storage, activation, comparison with a shadow."""
