"""The engine: backbones, adapters, tasks, training, evaluation, latency.

It takes plain values and needs torch and transformers alone (data sets and assets need a little more, imported where
they are used), so it also runs on a bare GPU machine. Import its modules by name: `adapter_sweep.engine.adapters`, ….
"""
