// npm's runpod-sdk, to be told what to do (clients.py, ClientProcess): a line of JSON in is a call, one out the answer.

import { writeFileSync } from "node:fs"
import { createInterface } from "node:readline"
import runpodSdk from "runpod-sdk"

let endpoint

const operations = {
  use(baseUrl, endpointId, apiKey) {
    endpoint = runpodSdk(apiKey, { baseUrl }).endpoint(endpointId)
    operations.retry = async (jobId) => {
      // The SDK has no retry.
      const headers = { authorization: `Bearer ${apiKey}` }
      const response = await fetch(`${baseUrl}/${endpointId}/retry/${jobId}`, { method: "POST", headers })
      return response.json()
    }
  },
  run: async (body) => (await endpoint.run(body)).id,
  run_sync: async (body) => (await endpoint.runSync(body, 20000)).output,
  whole_run_sync: (body, timeout) => endpoint.runSync(body, timeout),
  status: async (jobId) => (await endpoint.status(jobId)).status,
  document: (jobId) => endpoint.status(jobId),
  result: async (jobId) => (await endpoint.statusSync(jobId, 20000)).output,
  async stream(jobId, go) {
    const outputs = []
    for await (const chunk of endpoint.stream(jobId)) {
      outputs.push(chunk.output)
      writeFileSync(go, "")
    }
    return outputs
  },
  cancel: (jobId) => endpoint.cancel(jobId),
  purge_queue: () => endpoint.purgeQueue(),
  health: () => endpoint.health(),
}

for await (const line of createInterface({ input: process.stdin })) {
  const [operation, ...parameters] = JSON.parse(line)
  let answer
  try {
    answer = { value: (await operations[operation](...parameters)) ?? null }
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(`answer ${JSON.stringify(answer)}\n`)
}
