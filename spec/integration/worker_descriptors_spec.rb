# frozen_string_literal: true

require_relative "../support/pooling"

RSpec.describe "the sockets of a worker" do
  # A socket of one worker that another one holds, too, does not end with its worker: the server could not see by it that the
  # worker has died, and who waits for it would wait on.
  it "are held by no other worker, however many have been started at once" do
    server = start_server(Harness::Apps.directory("control"), min_instances: 6, max_pool_size: 6)
    settled(6, server)
    common = Harness::ProcFS.descriptors(server.preloader).values.grep(/\Asocket:/)
    sockets = pids(server).flat_map { |pid| Harness::ProcFS.descriptors(pid).values.grep(/\Asocket:/).uniq }
    expect((sockets.uniq - common).size).to be >= 12
    expect(sockets.tally.except(*common).select { |_, holders| holders > 1 }).to eq({})
    server.stop
  end
end
