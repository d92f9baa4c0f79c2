// What the runtime offers. An import is in the module only when a function that
// calls it is, so a plugin asks for no grant that it does not use.

// @ts-ignore: decorator
@external("wasmill_v1", "log")
export declare function log(level: i32, ptr: usize, size: usize): void;

// @ts-ignore: decorator
@external("wasmill_v1", "metric_define")
export declare function metricDefine(ptr: usize, size: usize, kind: i32): i32;

// @ts-ignore: decorator
@external("wasmill_v1", "metric_add")
export declare function metricAdd(id: i32, n: i64): void;

// @ts-ignore: decorator
@external("wasmill_v1", "metric_observe")
export declare function metricObserve(id: i32, v: f64): void;

// @ts-ignore: decorator
@external("wasmill_v1", "now")
export declare function now(): i64;

// @ts-ignore: decorator
@external("wasmill_v1", "random")
export declare function random(ptr: usize, size: usize): void;

// @ts-ignore: decorator
@external("wasmill_v1", "secret_get")
export declare function secretGet(name: usize, nameSize: usize, ptr: usize, room: usize): i64;
