"""SMTP with AUTH, both sides (RFC 4954).

`SmtpServer` is a submission server for asyncio, `SmtpClient` and `AsyncSmtpClient` log in to
any. Beneath them `SmtpConnection` and `Dialogue` are the two sides without I/O. What needs
asyncio or sockets is loaded when it is first asked for.
"""
