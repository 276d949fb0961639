"""What everybody stands on: errors, where things are, files, a lock between processes, running programs and leaving none behind.

Which way of running a program is for what:

- ``process.run``: a step of a build, with a log and its last lines where it fails.
- ``process.ask``: a question whose answer is read whole, with a deadline where the program may hang.
- ``process.no_survivor``: the two above where neither fits (output to a file, progress on the terminal). Ctrl-C, SIGTERM, SIGHUP
  and any exception end all that the program started; a SIGKILL to us does not.
- ``program.run_program``: a client or an evaluation that must not outlive us even then: it runs under the guardian, with a deadline.
- ``guarded.Guarded``: the same for a server, which runs on while we do other things.
- ``process.bound``: a command that is killed when we are. Around a fetch or a download, which then holds no lock, and around commands
  of ours that have the terminal or guardians of their own (``test``, ``bisect --ab``).
- ``patchset.git.Git`` runs git, and ``patchset.sources.transfer`` its long conversations.
- ``subprocess.run``, bare: a program that has our terminal (``build.py test``), or one that starts nothing and ends at once (tar).
"""
