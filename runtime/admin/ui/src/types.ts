// What the admin API says, as in runtime/status.

export interface Quantiles { count: number; p50: number; p99: number }
export interface Rates { in: number; done: number; out: number; dropped: number; retried: number; dead_lettered: number }

export interface Server {
  mode: string; url: string; store_dir?: string; store_bytes: number; max_store?: number; durability: string;
  loss_window: string; version: string; repairs?: string[]; storing: boolean; storage_trouble?: string;
  store_free?: number; store_restarts: number;
}

export interface Topic {
  name: string; subjects: string[]; messages: number; bytes: number; first_seq: number; last_seq: number;
  last_time: string; max_age?: string; max_bytes?: number; replicas: number; consumers: number; lost: number; rate?: number;
}

export interface Stage {
  name: string; plugin: string; events_in: number; events_out: number; dropped: number; retried: number;
  dead_lettered: number; faults?: Record<string, number>; rate_in: number; rate_out: number; batch: number;
  call: Quantiles; busy: number;
}

export interface Pipeline {
  name: string; state: string; reason?: string; from: string; stages: string[]; outputs: Record<string, string>;
  delivery: string; partitions: number; lag: number; events_in: number; events_out: number; dropped: number;
  retried: number; dead_lettered: number; lost: number; faults: Record<string, number>; in_flight: number;
  in_flight_bytes: number; backpressure_seconds: Record<string, number>; acked_seq: number; restarts: number;
  quarantines: number; last_error?: string; rates: Rates; end_to_end: Quantiles; stage_stats: Stage[];
  max_in_flight: number; blocked: Record<string, number>;
  last_fault?: { kind: string; stage: string; plugin: string; message: string; time: string };
}

export interface Generation {
  number: number; digest: string; size: number; loaded: string; origin: string; state: string; reason?: string;
  memory: number; load_seconds: number;
}

export interface Plugin {
  name: string; source: string; pipelines: string[]; generation: Generation; history?: Generation[];
  in_flight: number; in_flight_bytes: number; max_in_flight: number; max_in_flight_bytes: number; max_rate?: number;
}

export interface Status {
  version: string; state: string; ready: boolean; started: string; config: string; server: Server; problems?: string[];
}

export interface Line { time: string; level: number; plugin: string; pipeline: string; partition: number; line: string }
export interface Happening { time: string; kind: string; what: string; name: string; result: string; digest?: string; error?: string }

export interface Row {
  seq?: number; time: string; subject: string; key?: string; headers?: [string, string][]; payload: string;
  payload_base64?: string; bytes: number; output?: string; topic?: string; refused?: string;
}
export interface StageRow {
  time: string; partition: number; attempt: number; before: Row; outcome: string; reason?: string; after: Row[]; outputs: number;
}

export interface DeadLetter {
  id: number; time: string; pipeline: string; stage: string; plugin: string; digest: string; fault: string; cause: string;
  detail?: string; attempts: number; source_topic: string; source_seq: number; source_subject: string; quarantine?: string;
  headers?: Record<string, string[]>; payload: string; payload_base64?: string;
}

export interface Setting { key: string; value: string; default: boolean; doc?: string }
export interface Section { name: string; keys: Setting[] }
export interface Finding { file: string; line: number; col: number; severity: string; code: string; message: string; suggestion?: string }
export interface Configuration { file: string; hash: string; file_hash: string; sections: Section[]; findings: Finding[] }
