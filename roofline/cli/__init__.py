"""The commands: parse, ask the library, render, write; one module each."""
