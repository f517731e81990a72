import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isLostConnection, isUnreachable, poolSettings, unknownColumnsAsText } from '../query-engine/lib/database.mjs'
import { parseDatamodel } from '../query-engine/lib/datamodel.mjs'

test('host, port, user, password and database come from the URL, decoded', () => {
  const { pool } = poolSettings('postgresql://us%40er:p%2Fw%3A@db.example:6432/na%20me')
  assert.deepEqual([pool.host, pool.port, pool.user, pool.password, pool.database], ['db.example', 6432, 'us@er', 'p/w:', 'na me'])
})

test('what the URL leaves out has Prisma\'s defaults', () => {
  const { pool, sslmode, schema } = poolSettings('postgresql://u@h', 4)
  assert.deepEqual([pool.port, pool.database, pool.max, pool.connectionTimeoutMillis, pool.query_timeout, sslmode, schema],
    [5432, 'postgres', 9, 10_000, undefined, 'prefer', undefined])
})

test('Prisma\'s pool parameters become those of pg, in its units', () => {
  const { pool } = poolSettings('postgresql://u@h/d?connection_limit=3&pool_timeout=20&max_idle_connection_lifetime=5&max_connection_lifetime=60&socket_timeout=7')
  assert.deepEqual([pool.max, pool.connectionTimeoutMillis, pool.idleTimeoutMillis, pool.maxLifetimeSeconds, pool.query_timeout], [3, 20_000, 5000, 60, 7000])
})

test('every session is in UTC', () => {
  assert.match(poolSettings('postgresql://u@h/d').pool.options, /-c TimeZone=UTC/)
})

test('the schema becomes the search path, also with a space in its name', () => {
  const { pool, schema } = poolSettings('postgresql://u@h/d?schema=my%20app')
  assert.equal(schema, 'my app')
  assert.ok(pool.options.endsWith('-c search_path="my\\ app"'))
})

test('host as a parameter is the directory of a socket', () => {
  assert.equal(poolSettings('postgresql://u@localhost/d?host=/run/postgresql').pool.host, '/run/postgresql')
})

for (const [parameters, rejectUnauthorized] of [['sslmode=require', false], ['sslmode=require&sslaccept=strict', true], ['sslmode=verify-full', true]]) {
  test(`${parameters} ${rejectUnauthorized ? 'checks' : 'does not check'} the certificate`, () => {
    assert.equal(poolSettings(`postgresql://u@h/d?${parameters}`).tls.rejectUnauthorized, rejectUnauthorized)
  })
}

test('an outage and a lost connection are told apart', () => {
  assert.ok(isUnreachable({ code: 'ECONNREFUSED' }) && !isLostConnection({ code: 'ECONNREFUSED' }))
  assert.ok(isLostConnection(new Error('Connection terminated unexpectedly')) && !isUnreachable(new Error('Connection terminated unexpectedly')))
})

test('columns of types the adapter refuses arrive as text, all others untouched', () => {
  const NAME = 19, INT4 = 23, TEXT = 25, INTERVAL = 1186, OWN_ENUM = 16_400
  const result = {
    fields: [NAME, INT4, INTERVAL, OWN_ENUM].map(dataTypeID => ({ dataTypeID })),
    rows: [['pg_class', 1, { toPostgres: () => '1 days' }, 'a'], [null, 2, null, 'b']],
  }
  unknownColumnsAsText(result)
  assert.deepEqual(result.fields.map(f => f.dataTypeID), [TEXT, INT4, TEXT, OWN_ENUM])
  assert.deepEqual(result.rows, [['pg_class', 1, '1 days', 'a'], [null, 2, null, 'b']])
})

test('the datasource takes its URL from the environment or from the schema', () => {
  const datasource = url => parseDatamodel(`datasource db {\n  provider = "postgresql"\n  url = ${url}\n}\n`).datasource
  assert.equal(datasource('env("X")').url({ X: 'from env' }), 'from env')
  assert.equal(datasource('"literal"').url({}), 'literal')
  assert.throws(() => parseDatamodel('model A {\n  id Int @id\n}'), /no datasource/)
})
