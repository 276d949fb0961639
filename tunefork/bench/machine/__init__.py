"""The machine that is measured on: host, GPUs, their memory and clocks, and trials spread over them."""
