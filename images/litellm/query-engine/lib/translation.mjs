// Prisma's GraphQL protocol, which prisma-client-py speaks, to the JSON protocol of the WebAssembly engine, and back.
//
// Nearly everything maps one to one: the engine knows the schema and reads dates, big integers and enums from plain
// strings. The exception is the type Json: GraphQL carries it as a string that holds JSON, and the engine would store
// exactly that string unless it is tagged {"$type": "Json"}. So the translation has to know which argument is what.
// It does that with "shapes": functions from a GraphQL value to its JSON form, picked by the field's type.
import { parse } from 'graphql'

// ---- request ----

const ACTIONS = /^(findUnique|findFirst|findMany|createOne|createMany|updateOne|updateMany|upsertOne|deleteOne|deleteMany|aggregate|groupBy)(\w+)$/

/**
 * @param {string} document a GraphQL document with one operation and one field
 * @param {Map<string, Map<string, string>>} models of parseDatamodel
 * @returns {{alias: string, raw: boolean, request: object}} the name the answer goes under, whether the rows are
 *   untyped, and the JSON request
 */
export function translate(document, models) {
  const { definitions } = parse(document, { noLocation: true })
  const fields = definitions.flatMap(definition => definition.selectionSet?.selections ?? [])
  if (fields.length !== 1 || fields[0].kind !== 'Field') throw new Error(`one query is expected, not ${fields.length}`)
  const [field] = fields
  const name = field.name.value
  const alias = field.alias?.value ?? name
  if (name === 'queryRaw' || name === 'executeRaw') {
    const query = { arguments: object(() => value)({ kind: 'ObjectValue', fields: field.arguments }), selection: {} }
    return { alias, raw: true, request: { action: name, query } }
  }
  const { action, modelName } = resolve(name, models)
  return { alias, raw: false, request: { modelName, action, query: query(field, models.get(modelName), models) } }
}

// findUniqueUserOrThrow is findUniqueOrThrow of User, unless there is a model UserOrThrow.
function resolve(name, models) {
  const [, action, rest] = ACTIONS.exec(name) ?? []
  if (models.has(rest)) return { action, modelName: rest }
  const modelName = rest?.replace(/OrThrow$/, '')
  if (modelName !== rest && models.has(modelName)) return { action: `${action}OrThrow`, modelName }
  throw new Error(`the query "${name}" names no known action and model`)
}

function query(field, model, models) {
  const { where, data } = shapes(models)
  const shapeOf = argument => ({ where, having: where, cursor: where, data, create: data, update: data })[argument]?.(model) ?? value
  return {
    arguments: Object.fromEntries(field.arguments.map(a => [a.name.value, shapeOf(a.name.value)(a.value)])),
    selection: Object.fromEntries((field.selectionSet?.selections ?? []).map(child => [child.name.value, selected(child, model, models)])),
  }
}

function selected(child, model, models) {
  if (!child.selectionSet && child.arguments.length === 0) return true
  return query(child, models.get(model.get(child.name.value)) ?? new Map(), models) // no model: _count, _sum, ...
}

// ---- shapes ----

class EnumToken {
  constructor(name) { this.name = name }
  toJSON() { return this.name }
}

function value(node) {
  switch (node.kind) {
    case 'NullValue': return null
    case 'IntValue': return Number.isSafeInteger(Number(node.value)) ? Number(node.value) : { $type: 'BigInt', value: node.value }
    case 'FloatValue': return Number(node.value)
    case 'StringValue': case 'BooleanValue': return node.value
    case 'EnumValue': return new EnumToken(node.value)
    case 'ListValue': return node.values.map(value)
    case 'ObjectValue': return object(() => value)(node)
    default: throw new Error(`a GraphQL ${node.kind} is not understood here`)
  }
}

const list = shape => node => (node.kind === 'ListValue' ? node.values.map(shape) : shape(node))

// An object whose members have the shape that `member` gives for their name; anything else as it is.
const object = member => node => node.kind === 'ObjectValue'
  ? Object.fromEntries(node.fields.map(f => [f.name.value, member(f.name.value)(f.value)]))
  : value(node)

function json(node) {
  if (node.kind === 'StringValue') return { $type: 'Json', value: node.value }
  if (node.kind === 'EnumValue') return { $type: 'Enum', value: node.value } // JsonNull, DbNull, AnyNull
  return value(node)
}

const JSON_FILTERS_IN_TEXT = new Set(['path', 'mode', 'string_contains', 'string_starts_with', 'string_ends_with'])
const jsonFilter = node => node.kind === 'ObjectValue'
  ? object(name => (JSON_FILTERS_IN_TEXT.has(name) ? value : list(json)))(node)
  : json(node)
const jsonWrite = node => (node.kind === 'ObjectValue' ? object(() => list(json))(node) : list(json)(node)) // {set: x}, {push: x}, x

const LOGICAL = new Set(['AND', 'OR', 'NOT'])
const QUANTIFIERS = new Set(['is', 'isNot', 'some', 'every', 'none'])

function shapes(models) {
  const where = model => object(name => whereMember(model, name))
  const data = model => list(object(name => dataMember(model, name)))

  function whereMember(model, name) {
    const type = model.get(name)
    if (type === 'Json') return jsonFilter
    if (models.has(type)) return relationFilter(models.get(type))
    return type === undefined && LOGICAL.has(name) ? list(where(model)) : value
  }

  const relationFilter = related => object(name => (QUANTIFIERS.has(name) ? where(related) : whereMember(related, name)))

  function dataMember(model, name) {
    const type = model.get(name)
    if (type === 'Json') return jsonWrite
    return models.has(type) ? object(operation => relationWrite(operation, models.get(type))) : value
  }

  function relationWrite(operation, related) {
    const parts = object(name => (name === 'where' ? where(related) : ['data', 'create', 'update'].includes(name) ? data(related) : value))
    switch (operation) {
      case 'create': return data(related)
      case 'createMany': case 'connectOrCreate': case 'upsert': case 'updateMany': return list(parts)
      case 'update': return list(node => (wrapsData(node, related) ? parts : data(related))(node))
      default: return list(where(related)) // connect, disconnect, set, delete, deleteMany
    }
  }

  // `update` of a relation takes the new values, or {where, data: the new values}
  const wrapsData = (node, related) => !related.has('data') && (node.fields ?? []).some(f => f.name.value === 'data')

  return { where, data }
}

// ---- answer ----

/** Tagged scalars as the GraphQL protocol has them: Json as text, BigInt and dates as strings, Decimal as a number. */
export function untag(answer) {
  if (answer === null || typeof answer !== 'object') return answer
  if (Array.isArray(answer)) return answer.map(untag)
  if (typeof answer.$type === 'string') return answer.$type === 'Decimal' ? Number(answer.value) : answer.value
  return Object.fromEntries(Object.entries(answer).map(([name, member]) => [name, untag(member)]))
}
