"""Images made smaller so that they can be made large again, judged by what comes back."""
