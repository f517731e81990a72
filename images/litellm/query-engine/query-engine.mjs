#!/usr/bin/env node
// Stands in for Prisma's native `query-engine` binary (5.17.0), which comes from a host of Prisma's that tests do not reach.
// It is started as prisma-client-py starts that one and runs every query on the WebAssembly build of the same engine commit.
//
//   query-engine --version
//   PRISMA_DML_PATH=schema.prisma DATABASE_URL=postgresql://... query-engine -p PORT
//
// lib/server.mjs: HTTP; lib/engine.mjs: queries, transactions, errors; lib/translation.mjs: GraphQL <-> JSON protocol;
// lib/database.mjs: connections; lib/datamodel.mjs: the Prisma schema. This file: arguments, life and death of the process.
import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { parseDatamodel } from './lib/datamodel.mjs'

const PARENT_WATCH = 2000 // ms
const CLEAN_STOP = 2000 // ms

async function main(env) {
  const { values } = parseArgs({ strict: false, options: { version: { type: 'boolean', short: 'V' }, port: { type: 'string', short: 'p' } } })
  if (values.version) return console.log(`query-engine ${commit()}`) // asked before every start, so before the slow imports

  const parent = process.ppid
  const datamodel = env.PRISMA_DML_PATH ? fs.readFileSync(env.PRISMA_DML_PATH, 'utf8') : Buffer.from(env.PRISMA_DML ?? '', 'base64').toString()
  const { models, datasource } = parseDatamodel(datamodel)
  const override = JSON.parse(env.OVERWRITE_DATASOURCES || '[]').find(({ name }) => name === datasource.name)
  const url = override?.url ?? datasource.url(env)
  if (!values.port || !url) throw new Error('a port (-p) and a database URL (DATABASE_URL) are needed')

  const [{ Engine }, { serve }] = await Promise.all([import('./lib/engine.mjs'), import('./lib/server.mjs')])
  const engine = await Engine.open({ datamodel, models, url, logLevel: env.RUST_LOG || 'error', logQueries: Boolean(env.LOG_QUERIES) })
  const server = serve(engine, Number(values.port))

  const stop = () => { // soon and clean: the client waits for the end of this process
    setTimeout(() => process.exit(0), CLEAN_STOP).unref()
    server.close()
    server.closeAllConnections()
    engine.close().finally(() => process.exit(0))
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  // An engine whose client was killed would hold its database connections for ever.
  setInterval(() => process.ppid !== parent && stop(), PARENT_WATCH).unref()
}

// The version of the npm package ends in the commit of the engine it was built from.
function commit() {
  const { dependencies } = JSON.parse(fs.readFileSync(new URL('package.json', import.meta.url), 'utf8'))
  return dependencies['@prisma/query-engine-wasm'].split('.').pop()
}

// A panic of the WebAssembly module leaves its request unanswered and its memory in doubt. Ending is better: the client
// notices (LiteLLM watches the process) and starts a new one.
function die(e) {
  console.error(`query-engine: ${e?.stack ?? e}`)
  process.exit(1)
}

process.on('uncaughtException', die).on('unhandledRejection', die)
main(process.env).catch(die)
