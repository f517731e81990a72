// The WebAssembly query engine with the behaviour of the native one: queries in GraphQL, transactions by id, error codes.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { bindAdapter } from '@prisma/driver-adapter-utils'
import { PrismaPg } from '@prisma/adapter-pg'
import * as bindings from '@prisma/query-engine-wasm/postgresql/query_engine_bg.js'
import { acceptEveryColumnType, isLostConnection, isUnreachable, openPool } from './database.mjs'
import { translate, untag } from './translation.mjs'

const require = createRequire(import.meta.url)

export const failure = (code, message, meta = {}) =>
  ({ error: message, user_facing_error: { is_panic: false, message, meta, error_code: code } })

const NO_SUCH_TRANSACTION_AFTER = 60_000 // ms beyond its own end that an id stays known

export class Engine {
  #wasm
  #adapter
  #pool
  #models
  #transactions = new Set()

  static async open({ datamodel, models, url, logLevel, logQueries }) {
    acceptEveryColumnType()
    const { pool, schema } = await openPool(url)
    const adapter = bindAdapter(new PrismaPg(pool, { schema }))
    const code = fs.readFileSync(require.resolve('@prisma/query-engine-wasm/postgresql/query_engine_bg.wasm'))
    const { instance } = await WebAssembly.instantiate(code, { './query_engine_bg.js': bindings })
    bindings.__wbg_set_wasm(instance.exports)
    const wasm = new bindings.QueryEngine({ datamodel, logLevel, logQueries }, line => console.log(line), adapter)
    await wasm.connect('{}')
    return new Engine(wasm, adapter, pool, models)
  }

  constructor(wasm, adapter, pool, models) {
    this.#wasm = wasm
    this.#adapter = adapter
    this.#pool = pool
    this.#models = models
  }

  async close() {
    await this.#wasm.disconnect('{}')
    await this.#pool.end()
  }

  /** {query} or {batch: [{query}, ...], transaction} in; {data}, {errors} or {batchResult} out. */
  async query(body, transaction) {
    if (transaction !== undefined && !this.#transactions.has(transaction)) return { errors: [unknownTransaction(transaction)] }
    let translated
    try {
      translated = (body.batch ?? [body]).map(({ query }) => translate(query, this.#models))
    } catch (e) {
      return { errors: [failure('P2009', `Failed to parse the query: ${e.message}`)] }
    }
    const requests = translated.map(({ request }) => request)
    const message = body.batch ? { batch: requests, ...transactionOf(body) } : requests[0]
    const answer = JSON.parse(await this.#wasm.query(JSON.stringify(message), '{}', transaction))
    const present = (result, i) => {
      if (result.errors) return { errors: result.errors.map(e => this.#explained(e)) }
      const { alias, raw } = translated[i]
      const [data] = Object.values(result.data)
      return { data: { [alias]: raw ? data : untag(data) } }
    }
    return answer.batchResult ? { batchResult: answer.batchResult.map(present) } : present(answer, 0)
  }

  /** [HTTP status, {id} or an error] */
  async begin(options) {
    const starting = this.#wasm.startTransaction(JSON.stringify(options), '{}').then(JSON.parse)
    // The WebAssembly engine does not watch max_wait, which bounds the wait for a free connection.
    const answer = await within(options.max_wait ?? 2000, starting)
    if (answer === TOO_LATE) {
      starting.then(({ id }) => id && this.#wasm.rollbackTransaction(id, '{}'))
      return [504, failure('P2028', 'Transaction API error: Unable to start a transaction in the given time.').user_facing_error]
    }
    if (!answer.id) return [500, this.#explained(answer)]
    // The engine itself answers for an id that it closed or let expire, but it aborts on one that it never knew.
    this.#transactions.add(answer.id)
    setTimeout(() => this.#transactions.delete(answer.id), (options.timeout ?? 5000) + NO_SUCH_TRANSACTION_AFTER).unref()
    return [200, answer]
  }

  commit(id) { return this.#end(id, 'commitTransaction') }
  rollback(id) { return this.#end(id, 'rollbackTransaction') }

  async #end(id, how) {
    if (!this.#transactions.has(id)) return [404, unknownTransaction(id).user_facing_error]
    const answer = JSON.parse(await this.#wasm[how](id, '{}'))
    if (!answer.error_code) return [200, answer]
    return [answer.error_code === 'P2028' ? 422 : 500, this.#explained(answer)]
  }

  /** The gauges of the pool: what a client can know of the native engine's metrics from outside. */
  gauges() {
    const { totalCount: open, idleCount: idle, waitingCount: waiting } = this.#pool
    return {
      prisma_pool_connections_open: open,
      prisma_pool_connections_idle: idle,
      prisma_pool_connections_busy: open - idle,
      prisma_client_queries_wait: waiting,
    }
  }

  // What the driver threw comes back from the engine as P2036 and an index into the adapter's registry. Callers look for the
  // native codes (LiteLLM tells an outage by P1001 and its text), so give it the code that the native engine has for it.
  #explained(error) {
    const known = error.user_facing_error ?? error
    if (known.error_code !== 'P2036') return error
    const registry = this.#adapter.errorRegistry.registeredErrors
    const cause = registry[known.meta?.id]?.error
    delete registry[known.meta?.id]
    const text = cause?.message || cause?.code || String(cause)
    const { host, port, max, connectionTimeoutMillis } = this.#pool.options
    if (/timeout exceeded when trying to connect/.test(text) && this.#pool.totalCount >= max)
      return failure('P2024', `Timed out fetching a new connection from the connection pool. (connection limit: ${max})`,
        { connection_limit: max, timeout: connectionTimeoutMillis / 1000 })
    if (isUnreachable(cause)) return failure('P1001', `Can't reach database server at \`${host}:${port}\`: ${text}`)
    if (isLostConnection(cause)) return failure('P1017', `Server has closed the connection. (${text})`)
    return failure('P2036', `Error in the database driver: ${text}`, known.meta)
  }
}

function transactionOf({ transaction, isolationLevel }) {
  return transaction ? { transaction: isolationLevel ? { isolationLevel } : {} } : {}
}

function unknownTransaction(id) {
  const error = `Transaction not found. Transaction ID ${id} is invalid, refers to an old closed transaction, or never was started.`
  return failure('P2028', `Transaction API error: ${error}`, { error })
}

const TOO_LATE = Symbol('too late')
async function within(milliseconds, promise) {
  let timer
  const late = new Promise(resolve => { timer = setTimeout(resolve, milliseconds, TOO_LATE) })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
