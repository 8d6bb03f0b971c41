"""The live page: what runs beside the pipeline (`child`, `news`, `changes`) and the process that serves browsers."""
