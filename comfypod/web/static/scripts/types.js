/**
 * The documents that the server sends, as `api/openapi.json` describes them. Types only: nothing here runs.
 *
 * @typedef {{code: string, message: string, details?: Record<string, any>}} ErrorDocument
 *
 * @typedef {{is_signed_in: boolean, needs_token: boolean, limits: {runs_at_once?: number, upload_bytes?: number}}} Session
 *
 * @typedef {object} Endpoint
 * @property {string} name
 * @property {boolean} is_local
 * @property {Record<"idle"|"initializing"|"running"|"throttled"|"ready"|"unhealthy", number>} workers
 * @property {{in_queue: number, in_progress: number}} jobs
 * @property {number | null} dollars_per_second
 * @property {boolean} is_reachable
 * @property {ErrorDocument | null} error
 *
 * @typedef {"text"|"longtext"|"integer"|"number"|"seed"|"boolean"|"choice"|"image"|"mask"|"video"|"audio"|"file"} FieldKind
 *
 * @typedef {object} Field
 * @property {string} name the key under a run's `parameters`: "prompt", or "6.text"
 * @property {string} label
 * @property {FieldKind} kind
 * @property {any} default
 * @property {number | null} minimum
 * @property {number | null} maximum
 * @property {number | null} step
 * @property {number | null} multiple_of
 * @property {string[] | null} choices
 * @property {string} description
 * @property {string | null} group the title of its node
 * @property {boolean} is_main shown first; the others under "More settings"
 *
 * @typedef {{name: string, description: string, fields: Field[]}} Template
 *
 * @typedef {object} Form
 * @property {string} title
 * @property {Record<string, any> | null} workflow in API format; null where only the endpoint can convert it
 * @property {Field[]} fields
 * @property {string[]} notes
 * @property {boolean} is_described the endpoint has said what it has
 *
 * @typedef {object} Upload
 * @property {string} id
 * @property {string} name
 * @property {string} [content_type]
 * @property {number} [size_bytes]
 * @property {number | null} [width]
 * @property {number | null} [height]
 *
 * @typedef {object} Output
 * @property {"image"|"video"|"audio"|"text"|"file"} kind
 * @property {number} index
 * @property {string | null} filename
 * @property {string | null} content_type
 * @property {number | null} size_bytes
 * @property {number | null} width
 * @property {number | null} height
 * @property {string | null} url relative to the page
 * @property {string | null} text
 * @property {string | null} node_id
 * @property {string | null} node_title
 *
 * @typedef {object} Progress
 * @property {string | null} stage prepare | queue | execute | deliver
 * @property {number | null} value 0 to 1
 * @property {string | null} message
 * @property {string | null} node_id
 * @property {string | null} node_title
 * @property {number | null} step
 * @property {number | null} steps
 * @property {number | null} nodes_done
 * @property {number | null} nodes_total
 * @property {number | null} eta_seconds
 *
 * @typedef {object} Run
 * @property {string} id sorts by time
 * @property {string} title
 * @property {string | null} template
 * @property {"submitting"|"queued"|"running"|"succeeded"|"failed"|"cancelled"} state
 * @property {string} created_at
 * @property {string | null} ended_at
 * @property {Record<string, any>} parameters
 * @property {{name: string, upload: string}[]} files
 * @property {string | null} job_id
 * @property {{kind: "queue"|"cold_start"|"throttled"|"unknown", seconds: number, jobs_in_queue: number | null} | null} wait
 * @property {Progress | null} progress
 * @property {{number: number, content_type: string} | null} preview
 * @property {Output[]} outputs
 * @property {{code: string, message: string, node_id: string | null, node_title: string | null, is_retryable: boolean} | null} error
 * @property {string[]} warnings
 * @property {Record<string, any> | null} timings
 * @property {{seconds: number, dollars: number | null} | null} cost
 * @property {boolean} is_cancelling
 * @property {boolean} is_emulated
 * @property {number} [receivedAt] when this page got it, in milliseconds of `performance.now()`; added here
 */

export {};
