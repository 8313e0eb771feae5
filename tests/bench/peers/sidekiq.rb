# SPDX-License-Identifier: BSD-2-Clause
# Sidekiq: the same protocol as harness.mjs.  A job leaves Redis as it is fetched, so that it has
# ended when it has run; a job that a killed worker held is lost.

require 'json'
require 'sidekiq'

REDIS = { url: "redis://127.0.0.1:#{ENV.fetch('PEER_REDIS_PORT')}/1" }.freeze
PAYLOAD = { 'pad' => ('0123456789abcdef' * 12)[0, 190] }.freeze
BATCH = 100

def now_ms
  Process.clock_gettime(Process::CLOCK_REALTIME, :float_millisecond)
end

# counts, and tells the end
module Count
  @lock = Mutex.new
  @count = 0
  @wanted = Float::INFINITY
  class << self
    def wanted=(count)
      @lock.synchronize do
        @wanted = count
        look
      end
    end

    def ended
      @lock.synchronize do
        @first = now_ms if @count.zero?
        @count += 1
        look
      end
    end

    def look
      return if @count < @wanted

      $stdout.puts JSON.generate(count: @count, first_ms: @first, last_ms: now_ms)
      $stdout.flush
      Process.kill('TERM', Process.pid)
      @wanted = Float::INFINITY
    end
  end
end

class Noop
  include Sidekiq::Worker
  sidekiq_options retry: false

  def perform(_payload)
    Count.ended
  end
end

Sidekiq.configure_server do |config|
  config.redis = REDIS
  config.logger.level = Logger::ERROR
  config.on(:startup) do
    $stdout.puts 'ready'
    $stdout.flush
    Thread.new { Count.wanted = Integer($stdin.gets) }
  end
end

if $PROGRAM_NAME == __FILE__
  what = ARGV[0]
  seconds = Float(ARGV[1])
  calls = Integer(ARGV[2])
  Sidekiq.configure_client { |config| config.redis = REDIS.merge(size: calls) }
  one = [PAYLOAD]
  many = Array.new(BATCH) { one }
  start = now_ms
  counts = Array.new(calls) do
    Thread.new do
      count = 0
      while now_ms < start + seconds * 1000
        if what == 'bulk'
          Sidekiq::Client.push_bulk('class' => Noop, 'args' => many)
          count += BATCH
        else
          Noop.perform_async(PAYLOAD)
          count += 1
        end
      end
      count
    end
  end.map(&:value)
  puts JSON.generate(count: counts.sum, start_ms: start, end_ms: now_ms)
end
