# frozen_string_literal: true

module Bench
  # "requests/s at 32 connections at least 3 × Puma's": metric, peer, comparison (:>= or :<=), factor, connections. What is aimed
  # at beyond that, if anything, is told but not judged.
  Goal = Struct.new(:metric, :peer, :comparison, :factor, :connections, :aim) do
    def met?(ratio)
      ratio.public_send(comparison, factor)
    end

    def to_s
      "#{comparison == :>= ? '≥' : '≤'} #{factor}"
    end
  end

  # One subject of comparison: an app, the numbers of connections it is loaded with, and what this project wants to reach.
  Contest = Struct.new(:name, :title, :app, :connections, :goals, keyword_init: true) do
    def goal(metric, peer, at)
      goals.find { |goal| goal.metric == metric && goal.peer == peer && goal.connections == at }
    end
  end

  CONTESTS = [
    Contest.new(name: "hello", title: "Hello world", app: App::HELLO, connections: [32],
                goals: [Goal.new(:requests_per_second, :puma, :>=, 3.0, 32), Goal.new(:p99, :puma, :<=, 1.0, 32),
                        Goal.new(:requests_per_second, :original, :>=, 4.5, 32), Goal.new(:p99, :original, :<=, 1.0, 32)]),
    Contest.new(name: "body120k", title: "Bodies of 120 KB", app: App::BODY_120K, connections: [32],
                goals: [Goal.new(:requests_per_second, :puma, :>=, 1.0, 32)]),
    Contest.new(name: "body3m", title: "Bodies of 3 MB", app: App::BODY_3M, connections: [32],
                goals: [Goal.new(:requests_per_second, :puma, :>=, 1.0, 32)]),
    Contest.new(name: "page", title: "Index page of the example app", app: Bulletin.new("production"), connections: [32, 16],
                goals: [Goal.new(:requests_per_second, :puma, :>=, 1.0, 32), Goal.new(:p99, :puma, :<=, 0.5, 16)])
  ].freeze
end
