"""What programs do where a request says nothing: one frozen record a program."""
