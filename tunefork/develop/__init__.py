"""From an applied tree to an installed one: targets, native digest, artefact store, doctor, container."""
