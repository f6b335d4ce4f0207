-- Sends one request again and again, and prints what it measured as one line of JSON.
--
-- From the environment: WRK_METHOD, WRK_BODY (a file); WRK_RATE, requests a second that are sent when they are due,
-- whatever became of those before (each takes the next free connection); WRK_MODE: "count" counts answers by status,
-- "probe" keeps status and latency of each (one connection a thread).
local ffi = require("ffi")
ffi.cdef [[ typedef struct { long s; long ns; } moment_t; int clock_gettime(int, moment_t *); ]]
local moment = ffi.new("moment_t")

local function now() -- milliseconds
   ffi.C.clock_gettime(1, moment)
   return tonumber(moment.s) * 1e3 + tonumber(moment.ns) / 1e6
end

local rate, mode = tonumber(os.getenv("WRK_RATE") or ""), os.getenv("WRK_MODE")
local threads = {}
slots, late, statuses, samples = 0, 0, {}, {}

wrk.method = os.getenv("WRK_METHOD") or "GET"
if os.getenv("WRK_BODY") then
   local file = assert(io.open(os.getenv("WRK_BODY"), "rb"))
   wrk.body = file:read("*a")
   file:close()
end

function setup(thread)
   table.insert(threads, thread)
end

if rate then
   local due
   function delay()
      local at = now()
      due = due or at
      local wait = due - at
      due, slots = due + 1e3 / rate, slots + 1
      if wait < -5 then late = late + 1 end
      return math.max(0, math.floor(wait + 0.5))
   end
end

if mode == "count" then
   function response(status)
      statuses[status] = (statuses[status] or 0) + 1
   end
elseif mode == "probe" then
   local prepared, sent
   function request()
      prepared = prepared or wrk.format()
      sent = now()
      return prepared
   end
   function response(status)
      table.insert(samples, string.format("[%d,%.3f]", status, now() - sent))
   end
end

function done(summary, latency, requests)
   local cpu_s, histogram, counted, all, due, behind = os.clock(), {}, {}, {}, 0, 0
   if mode ~= "probe" then
      for i = 1, #latency do
         table.insert(histogram, string.format("[%d,%d]", latency(i)))
      end
   end
   for _, thread in ipairs(threads) do
      due, behind = due + thread:get("slots"), behind + thread:get("late")
      for status, count in pairs(thread:get("statuses")) do
         counted[status] = (counted[status] or 0) + count
      end
      for _, sample in ipairs(thread:get("samples")) do table.insert(all, sample) end
   end
   local by_status = {}
   for status, count in pairs(counted) do table.insert(by_status, string.format('"%d":%d', status, count)) end
   local errors = summary.errors
   print(string.format(
      'RESULT {"requests":%d,"duration_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,' ..
      '"cpu_s":%.6f,"slots":%d,"late":%d,"statuses":{%s},"samples":[%s],"histogram_us":[%s]}',
      summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.status, errors.timeout,
      cpu_s, due, behind, table.concat(by_status, ","), table.concat(all, ","), table.concat(histogram, ",")))
end
