# LiteLLM replaces a broken engine through the attribute that older clients kept it in. (Appended to the generated client.)
Prisma._Prisma__engine = property(lambda self: self._internal_engine, lambda self, engine: setattr(self, "_internal_engine", engine))
