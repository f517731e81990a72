// PostgreSQL from a Prisma connection URL: its parameters mean here what they mean to Prisma's native engine.
import fs from 'node:fs'
import os from 'node:os'
import pg from 'pg'
import { PrismaPg } from '@prisma/adapter-pg'

/** Settings of a pg pool for a Prisma URL, and the TLS mode that openPool still has to settle. */
export function poolSettings(text, cpus = os.cpus().length) {
  const url = new URL(text)
  const parameter = name => url.searchParams.get(name) ?? undefined
  const seconds = (name, fallback) => 1000 * Number(parameter(name) ?? fallback)
  const schema = parameter('schema')
  const session = [
    parameter('options'),
    '-c TimeZone=UTC -c DateStyle=ISO', // adapter-pg cuts the offset off a timestamptz, so it has to be zero
    schema && `-c search_path=${escapeOption(`"${schema}"`)}`,
  ]
  return {
    schema,
    sslmode: parameter('sslmode') ?? 'prefer',
    tls: { rejectUnauthorized: rejectsUnauthorized(parameter('sslmode'), parameter('sslaccept')), ca: certificate(parameter('sslcert')) },
    pool: {
      host: parameter('host') ?? (decodeURIComponent(url.hostname) || 'localhost'), // ?host=/run/postgresql is a socket
      port: Number(url.port || 5432),
      user: decodeURIComponent(url.username) || undefined,
      password: decodeURIComponent(url.password) || undefined,
      database: decodeURIComponent(url.pathname.slice(1)) || 'postgres',
      application_name: parameter('application_name'),
      options: session.filter(Boolean).join(' '),
      max: Number(parameter('connection_limit') ?? cpus * 2 + 1),
      connectionTimeoutMillis: seconds('pool_timeout', 10),
      idleTimeoutMillis: seconds('max_idle_connection_lifetime', 300),
      maxLifetimeSeconds: Number(parameter('max_connection_lifetime') ?? 0),
      query_timeout: seconds('socket_timeout', 0) || undefined,
      keepAlive: true,
    },
  }
}

const escapeOption = text => text.replace(/[\\ ]/g, '\\$&')
const certificate = path => (path ? fs.readFileSync(path, 'utf8') : undefined)
// Prisma: "require" encrypts without a look at the certificate unless sslaccept=strict.
const rejectsUnauthorized = (mode = '', accept = '') => accept === 'strict' || mode.startsWith('verify-')

/** A pool that has reached the database once: like the native engine, no server without a database. */
export async function openPool(text) {
  const settings = poolSettings(text)
  const ssl = await settleTls(settings)
  const pool = new pg.Pool({ ...settings.pool, ssl })
  // A connection that breaks emits 'error', idle or not; without a listener that would end the process.
  pool.on('error', () => {})
  pool.on('connect', client => client.on('error', e => console.error(`query-engine: a database connection was lost: ${e.message}`)))
  await pool.query('SELECT 1')
  return { pool, schema: settings.schema }
}

// pg has no "prefer" (encrypt if the server can): ask the server once.
async function settleTls({ sslmode, tls, pool }) {
  if (sslmode === 'disable') return false
  if (sslmode !== 'prefer' || pool.host.startsWith('/')) return sslmode === 'prefer' ? false : tls
  const client = new pg.Client({ ...pool, ssl: tls })
  try {
    await client.connect()
    return tls
  } catch (e) {
    if (/does not support SSL/.test(e.message)) return false
    throw e
  } finally {
    await client.end().catch(() => {})
  }
}

export const isUnreachable = error =>
  /^(ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EAI_AGAIN|ENOENT)$/.test(error?.code ?? '') ||
  /timeout exceeded when trying to connect|terminated due to connection timeout/.test(error?.message ?? '')

export const isLostConnection = error =>
  /^(ECONNRESET|EPIPE)$/.test(error?.code ?? '') || /Connection terminated|Client has encountered a connection error/.test(error?.message ?? '')

// ---- columns that adapter-pg has no name for ----

const { builtins } = pg.types
const KNOWN_SCALARS = ['INT2', 'INT4', 'INT8', 'FLOAT4', 'FLOAT8', 'BOOL', 'DATE', 'TIME', 'TIMETZ', 'TIMESTAMP', 'TIMESTAMPTZ', 'NUMERIC', 'MONEY',
  'JSON', 'JSONB', 'UUID', 'OID', 'BPCHAR', 'TEXT', 'VARCHAR', 'BIT', 'VARBIT', 'INET', 'CIDR', 'XML', 'BYTEA'].map(name => builtins[name])
const KNOWN_ARRAYS = [143, 199, 651, 791, 1000, 1001, 1002, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1028, 1041, 1115, 1182, 1183, 1231,
  1561, 1563, 2951, 3807]
const KNOWN = new Set([...KNOWN_SCALARS, ...KNOWN_ARRAYS])
const FIRST_USER_DEFINED = 10_000 // enums and the like, which the adapter takes for text

// The adapter refuses a result with such a column (name, "char", regclass, interval, ...). The native engine reads them,
// and LiteLLM selects some from pg_catalog: hand them over as text. The base class of the adapter, where both its pool and its
// transactions get their results, is not exported, hence the prototype.
export function acceptEveryColumnType() {
  const base = Object.getPrototypeOf(PrismaPg.prototype)
  const performIO = base.performIO
  base.performIO = async function (query) {
    const answer = await performIO.call(this, query)
    if (answer.ok) unknownColumnsAsText(answer.value)
    return answer
  }
}

export function unknownColumnsAsText({ fields = [], rows = [] }) {
  fields.forEach((field, i) => {
    if (KNOWN.has(field.dataTypeID) || field.dataTypeID >= FIRST_USER_DEFINED) return
    field.dataTypeID = builtins.TEXT
    for (const row of rows) if (row[i] !== null) row[i] = row[i].toPostgres?.() ?? String(row[i]) // pg parses an interval to an object
  })
}
