// The HTTP interface of Prisma's query engine.
import http from 'node:http'
import { failure } from './engine.mjs'

const KEEP_ALIVE = 120_000 // ms, longer than a client keeps an idle connection: it must never reuse one that is just closing

export function serve(engine, port) {
  const server = http.createServer((request, response) => answer(engine, request, response))
  server.keepAliveTimeout = KEEP_ALIVE
  server.requestTimeout = 0
  server.listen(port, '127.0.0.1')
  return server
}

async function answer(engine, request, response) {
  let status, body
  try {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    ;[status, body] = await route(engine, request, Buffer.concat(chunks).toString())
  } catch (e) {
    ;[status, body] = e instanceof SyntaxError ? [400, failure('P2009', e.message)] : [500, failure('P2036', e.message ?? String(e))]
  }
  const isText = typeof body === 'string'
  response.writeHead(status, { 'content-type': isText ? 'text/plain' : 'application/json' })
  response.end(isText ? body : JSON.stringify(body))
}

async function route(engine, { method, url, headers }, text) {
  const { pathname, searchParams } = new URL(url, 'http://localhost')
  const body = () => (text ? JSON.parse(text) : {})
  const [, transaction, ending] = /^\/transaction\/([^/]+)\/(commit|rollback)$/.exec(pathname) ?? []
  switch (`${method} ${transaction ? ending : pathname}`) {
    case 'GET /status': return [200, { status: 'ok' }]
    case 'GET /metrics': return [200, metrics(engine.gauges(), searchParams.get('format'))]
    case 'POST /': return [200, await engine.query(body(), headers['x-transaction-id'])]
    case 'POST /transaction/start': return engine.begin(body())
    case 'POST commit': return engine.commit(transaction)
    case 'POST rollback': return engine.rollback(transaction)
    default: return [404, { error: `${method} ${pathname} is not known here` }]
  }
}

function metrics(gauges, format) {
  const entries = Object.entries(gauges)
  if (format === 'prometheus') return entries.map(([name, value]) => `# TYPE ${name} gauge\n${name} ${value}\n`).join('')
  return { counters: [], histograms: [], gauges: entries.map(([key, value]) => ({ key, labels: {}, value, description: '' })) }
}
