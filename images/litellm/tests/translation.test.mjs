import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseDatamodel } from '../query-engine/lib/datamodel.mjs'
import { translate, untag } from '../query-engine/lib/translation.mjs'

const { models } = parseDatamodel(`
datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}
model User {
  id    String @id
  // notes Json is what this comment must not become
  meta  Json   @default("{}")
  tags  Json[]
  keys  Key[]
  role  Role?
}
model Key {
  id    String @id
  conf  Json?
  owner User   @relation(fields: [ownerId], references: [id])
  ownerId String
}
model KeyOrThrow {
  id String @id
}
enum Role {
  ADMIN
}
`)
const request = document => JSON.parse(JSON.stringify(translate(document, models).request))
const argumentsOf = document => request(document).query.arguments
const json = value => ({ $type: 'Json', value })

test('a query becomes the model, the action, its arguments and its selection', () => {
  assert.deepEqual(request('query { result: findManyUser(where: {id: "a"}, take: 2) { id keys(take: 1) { id } } }'), {
    modelName: 'User', action: 'findMany',
    query: { arguments: { where: { id: 'a' }, take: 2 }, selection: { id: true, keys: { arguments: { take: 1 }, selection: { id: true } } } },
  })
})

test('the answer goes under the alias of the query', () => {
  assert.equal(translate('mutation { result: deleteOneUser(where: {id: "a"}) { id } }', models).alias, 'result')
  assert.equal(translate('query { findManyUser { id } }', models).alias, 'findManyUser')
})

test('OrThrow is part of the action unless a model is called so', () => {
  assert.equal(request('query { findUniqueUserOrThrow(where: {id: "a"}) { id } }').action, 'findUniqueOrThrow')
  assert.equal(request('query { findUniqueKeyOrThrow(where: {id: "a"}) { id } }').modelName, 'KeyOrThrow')
})

test('a raw query passes as it is, with untyped rows', () => {
  const { raw, request } = translate('mutation { result: executeRaw(query: "SELECT $1", parameters: "[1]") }', models)
  assert.equal(raw, true)
  assert.deepEqual(request, { action: 'executeRaw', query: { arguments: { query: 'SELECT $1', parameters: '[1]' }, selection: {} } })
})

test('a Json value in data is tagged and a string is not', () => {
  assert.deepEqual(argumentsOf('mutation { createOneUser(data: {id: "{}", meta: "{\\"a\\": 1}", role: ADMIN}) { id } }'),
    { data: { id: '{}', meta: json('{"a": 1}'), role: 'ADMIN' } })
})

test('set, push and lists of Json values are tagged', () => {
  assert.deepEqual(argumentsOf('mutation { updateOneUser(data: {meta: {set: "1"}, tags: {push: ["2", "3"]}}, where: {id: "a"}) { id } }').data,
    { meta: { set: json('1') }, tags: { push: [json('2'), json('3')] } })
})

test('JsonNull in the place of a Json value is a tagged enum', () => {
  assert.deepEqual(argumentsOf('mutation { createOneKey(data: {conf: JsonNull}) { id } }').data, { conf: { $type: 'Enum', value: 'JsonNull' } })
})

test('both halves of an upsert are data', () => {
  assert.deepEqual(argumentsOf('mutation { upsertOneUser(where: {id: "a"}, create: {meta: "1"}, update: {meta: "2"}) { id } }'),
    { where: { id: 'a' }, create: { meta: json('1') }, update: { meta: json('2') } })
})

test('a Json filter is tagged except for its path and its text searches', () => {
  assert.deepEqual(argumentsOf('query { findManyUser(where: {meta: {path: ["a"], equals: "1", string_contains: "x"}}) { id } }').where,
    { meta: { path: ['a'], equals: json('1'), string_contains: 'x' } })
})

test('Json filters are found under AND, OR and NOT and through relations', () => {
  assert.deepEqual(argumentsOf('query { findManyUser(where: {OR: [{NOT: {meta: {equals: "1"}}}, {keys: {some: {conf: {equals: "2"}}}}]}) { id } }').where,
    { OR: [{ NOT: { meta: { equals: json('1') } } }, { keys: { some: { conf: { equals: json('2') } } } }] })
  assert.deepEqual(argumentsOf('query { findManyKey(where: {owner: {meta: {equals: "1"}}}) { id } }').where, { owner: { meta: { equals: json('1') } } })
})

for (const [operation, given, expected] of [
  ['create', '[{conf: "1"}]', [{ conf: json('1') }]],
  ['createMany', '{data: [{conf: "1"}], skipDuplicates: true}', { data: [{ conf: json('1') }], skipDuplicates: true }],
  ['connect', '{id: "k"}', { id: 'k' }],
  ['connectOrCreate', '{where: {id: "k"}, create: {conf: "1"}}', { where: { id: 'k' }, create: { conf: json('1') } }],
  ['update', '{where: {id: "k"}, data: {conf: "1"}}', { where: { id: 'k' }, data: { conf: json('1') } }],
  ['update', '{conf: "1"}', { conf: json('1') }],
  ['updateMany', '{where: {conf: {equals: "1"}}, data: {conf: "2"}}', { where: { conf: { equals: json('1') } }, data: { conf: json('2') } }],
  ['deleteMany', '[{conf: {equals: "1"}}]', [{ conf: { equals: json('1') } }]],
]) {
  test(`Json values are tagged in the nested write ${operation}: ${given}`, () => {
    assert.deepEqual(argumentsOf(`mutation { updateOneUser(data: {keys: {${operation}: ${given}}}) { id } }`).data, { keys: { [operation]: expected } })
  })
}

test('an integer beyond 2^53 keeps every digit', () => {
  assert.deepEqual(argumentsOf('query { findManyUser(where: {n: 9007199254740993}, take: -3) { id } }'),
    { where: { n: { $type: 'BigInt', value: '9007199254740993' } }, take: -3 })
})

test('null, numbers, booleans, enums and hard strings survive', () => {
  const text = 'q"uote \\ back\nline ünï 🎉'
  assert.deepEqual(argumentsOf(`query { findManyUser(where: {a: null, b: 1e-7, c: true, d: asc, e: ${JSON.stringify(text)}}) { id } }`).where,
    { a: null, b: 1e-7, c: true, d: 'asc', e: text })
})

test('aggregates are selections without a model', () => {
  assert.deepEqual(request('query { aggregateUser { _count { _all } } }').query.selection, { _count: { arguments: {}, selection: { _all: true } } })
})

test('what is not understood is refused by name', () => {
  assert.throws(() => translate('query { findManyGhost { id } }', models), /findManyGhost/)
  assert.throws(() => translate('query { findManyUser { id } findManyKey { id } }', models), /one query is expected, not 2/)
  assert.throws(() => translate('query ($x: Int) { findManyUser(take: $x) { id } }', models), /Variable/)
})

test('an answer loses its tags at every depth', () => {
  assert.deepEqual(untag([{ a: { $type: 'Json', value: '{"$type":1}' }, b: [{ $type: 'BigInt', value: '12' }], c: { $type: 'Decimal', value: '1.5' }, d: null }]),
    [{ a: '{"$type":1}', b: ['12'], c: 1.5, d: null }])
})
