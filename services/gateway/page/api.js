// Talks to the gateway: JSON, RFC 9457 failures as one kind of error, event streams, uploads, all with the key.
import { askKey, key } from "./key.js";
import { session } from "./session.js";

/** A failure as people can read it. `problem` is the RFC 9457 body, or what stands in for one. */
export class Problem extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "");
    this.problem = problem;
  }

  get retryable() {
    return this.problem.retryable === true || [429, 503, 507].includes(this.problem.status) || !this.problem.status;
  }
}

const unreachable = () => new Problem({ code: "unreachable", status: 0 });

async function problemOf(response) {
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text);
    if (body && typeof body === "object") return new Problem({ status: response.status, ...body });
  } catch {
    // not JSON: a proxy in between answered
  }
  return new Problem({ code: "http", status: response.status, title: `${response.status} ${response.statusText}` });
}

/** Once more with the key that the user gives, as long as the server asks for one and the user gives one. */
async function send(path, options) {
  for (;;) {
    const shown = key();
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...bearer(shown), ...visit } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unreachable();
    }
    if (response.ok) return response;
    if (response.status !== 401 || !(await askKey(shown))) throw await problemOf(response);
  }
}

const bearer = (shown) => (shown ? { Authorization: `Bearer ${shown}` } : {});
const visit = { "X-Riddle-Session": session };

/** What feedback on a response is about: the id of its request; null where the server takes none. */
const servedAs = ({ headers }) => (headers.get("X-Riddle-Feedback") === "on" ? headers.get("X-Request-ID") : null);

/** `logged` false keeps the request out of the server's log: it is not one that somebody made. */
export async function request(path, { method = "GET", body, signal, logged = true, onServed = () => {} } = {}) {
  const options = { method, signal, headers: { Accept: "application/json", ...(logged ? {} : { "X-Riddle-Log": "off" }) } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const response = await send(path, options);
  onServed(servedAs(response));
  return response.json();
}

/** Results, each with `served`: the id of the request that brought it, which feedback on it refers to, or null. */
export const stamped = (results, served) => results.map((result) => ({ ...result, served }));

/** One page of results, stamped. */
export async function search(body, signal) {
  let served = null;
  const onServed = (id) => {
    served = id;
  };
  const found = await request("/v1/search", { method: "POST", body, signal, onServed });
  return { ...found, results: stamped(found.results, served) };
}

/** Tell what somebody thought of what was served, and forget it: it outlives the page, and its failure is no trouble. */
export function tell(feedback) {
  const headers = { "Content-Type": "application/json", ...bearer(key()), ...visit };
  fetch("/v1/feedback", { method: "POST", body: JSON.stringify(feedback), headers, keepalive: true }).catch(() => {});
}

/** Yields {event, data} of a server-sent stream as they arrive; leaving the loop or aborting closes it. */
export async function* stream(path, body, signal, onServed = () => {}) {
  const asked = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const headers = { Accept: "text/event-stream", ...(asked.body ? { "Content-Type": "application/json" } : {}) };
  const response = await send(path, { ...asked, signal, headers });
  onServed(servedAs(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw error.name === "AbortError" ? error : unreachable();
      });
      // a CR at the end may be half of a CRLF: unless nothing follows, it is looked at with the next block
      waiting = done ? waiting.replace(/\r/g, "\n") : (waiting + value).replace(/\r\n|\r(?!$)/g, "\n");
      const blocks = waiting.split("\n\n");
      waiting = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}

/** Post a form; `onProgress` gets the share sent, 0 to 1, which fetch cannot tell. */
export function upload(path, form, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const fail = (problem) => reject(problem);
    call.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    call.addEventListener("load", async () => {
      const response = new Response(call.response, { status: call.status, statusText: call.statusText });
      if (response.ok) resolve(await response.json());
      else fail(await problemOf(response));
    });
    call.addEventListener("error", () => fail(unreachable()));
    call.addEventListener("abort", () => fail(new DOMException("stopped", "AbortError")));
    signal.addEventListener("abort", () => call.abort());
    call.open("POST", path);
    for (const [name, value] of Object.entries(bearer(key()))) call.setRequestHeader(name, value);
    call.responseType = "blob";
    call.send(form);
  });
}

/**
 * Follow a job to its end; `onJob` gets each state. Events first, asking once a second when they break.
 * Returns a function that stops following.
 */
export function follow(jobId, onJob) {
  const path = `/v1/jobs/${encodeURIComponent(jobId)}`;
  const control = new AbortController();
  let stopped = false;
  let timer = 0;
  const seen = (job) => {
    if (stopped) return;
    onJob(job);
    if (["done", "failed", "cancelled"].includes(job.state)) stop();
  };
  const ask = async () => {
    try {
      seen(await request(path));
    } catch (error) {
      if (error instanceof Problem && error.problem.status === 404) stop();
    }
    if (!stopped) timer = setTimeout(ask, 1000);
  };
  const stop = () => {
    stopped = true;
    control.abort();
    clearTimeout(timer);
  };
  const listen = async () => {
    try {
      for await (const { event, data } of stream(`${path}/events`, undefined, control.signal)) {
        if (event === "job") seen(data);
      }
    } catch (error) {
      if (!(error instanceof Problem) && error.name !== "AbortError") throw error;
    }
    if (!stopped) ask();
  };
  listen();
  return stop;
}
