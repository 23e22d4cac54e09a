"""What supplies the answers to needs: the only part of the core that touches threads and loops."""
