// What the rest has to know of a Prisma schema: the fields of each model, and where the database is.

/**
 * @param {string} text the schema file
 * @returns {{models: Map<string, Map<string, string>>, datasource: {name: string, url: (env: object) => string | undefined}}}
 *   models: model name -> field name -> type name (without `?` and `[]`)
 */
export function parseDatamodel(text) {
  const models = new Map()
  let datasource
  for (const [, kind, name, body] of text.matchAll(/^(model|view|datasource)\s+(\w+)\s*\{(.*?)^\}/gms)) {
    if (kind === 'datasource') datasource = { name, url: urlOf(body) }
    else models.set(name, new Map(Array.from(body.matchAll(/^[ \t]*(\w+)[ \t]+(\w+)/gm), ([, field, type]) => [field, type])))
  }
  if (!datasource) throw new Error('the Prisma schema has no datasource block')
  return { models, datasource }
}

function urlOf(body) {
  const [, variable, literal] = /^\s*url\s*=\s*(?:env\(\s*"([^"]+)"\s*\)|"([^"]+)")/m.exec(body) ?? []
  return env => (variable ? env[variable] : literal)
}
