# frozen_string_literal: true

# The example application on its two databases: the same pages, the same forms.
RSpec.describe "the example application" do
  let(:visitor) { Harness::Visitor.new(server) }

  after { visitor.close }

  def sign_in(name = "Ada")
    visitor.visit("/session/new")
    visitor.submit("/session", "name" => name)
    expect(visitor.page.status).to eq(302), visitor.page.inspect
  end

  # prepare: gives the directory of the application, and may set @places, the variables for it.
  def self.serve_on_database(prepare)
    before(:context) do
      @server = Harness::BulletinServer.new(instance_exec(&prepare), environment: @places || {}, min_instances: 2, max_pool_size: 2,
                                                                         thread_count: 2)
      @server.start
      response = @server.get("/probe/pid", within: Harness::Server::BOOT_SECONDS)
      @server.fail!("the application answers #{response.inspect}") unless response.status == 200
    end

    after(:context) do
      @server&.stop
      [@postgresql, @redis].compact.each(&:stop)
    ensure
      [@server, @postgresql, @redis].compact.each { |one| one.destroy if one.running? }
    end
  end

  shared_examples "a notice board" do
    it "shows its pages" do
      index = server.get("/")
      expect(index.status).to eq(200)
      posts = index.body.scan(%r{href="(/posts/\d+)"}).flatten.uniq
      expect(posts).not_to be_empty
      posts.first(3).each { |path| expect(server.get(path)).to have_attributes(status: 200) }
      expect(server.get("/highlights").status).to eq(200)
      expect(JSON.parse(server.get("/api/posts").body)).not_to be_empty
      expect(server.get("/posts/999999").status).to eq(404)
    end

    it "takes a notice with a file, and gives it back" do
      sign_in
      visitor.visit("/posts/new")
      content = Random.new(1).bytes(20_000)
      visitor.submit_with_files("/posts", { "post[title]" => "Ünïcode ✓", "post[body]" => "text", "post[category]" => "news" },
                                "post[files][]" => ["data.bin", "application/octet-stream", content])
      expect(visitor.page.status).to eq(302), visitor.page.inspect
      page = visitor.follow
      expect(page.body).to include("Ünïcode ✓")
      expect(visitor.visit(page.body[%r{/attachments/\d+}]).body.b).to eq(content)
    end

    it "counts each of the comments, also of those that come at the same time where the database lets them" do
      sign_in("Grace")
      visitor.visit("/posts/1")
      before = comments_of("/posts/1")
      writers = Array.new(4) { Harness::Visitor.new(server) }
      writers.each_with_index.each_slice(writers_at_once) do |some|
        some.map { |writer, index| Thread.new { comment(writer, "Writer #{index}") } }.each(&:value)
      end
      expect(comments_of("/posts/1")).to eq(before + 12)
    ensure
      writers&.each(&:close)
    end

    def comments_of(path)
      server.get(path).body.scan(/id="comment_\d+"/).uniq.size
    end

    def comment(writer, name)
      writer.visit("/session/new")
      writer.submit("/session", "name" => name)
      3.times do |index|
        writer.visit("/posts/1")
        writer.submit("/posts/1/comments", "comment[body]" => "#{name} says #{index}")
        raise "no comment: #{writer.page.inspect}" unless writer.page.status == 302
      end
    end
  end

  describe "on SQLite" do
    serve_on_database -> { Harness::Bulletin.production }

    # Of two transactions that have read and then want to write, SQLite gives one up at once or after its timeout.
    let(:writers_at_once) { 1 }

    it_behaves_like "a notice board"
  end

  describe "on PostgreSQL, with Redis for its live comments" do
    serve_on_database(lambda do
      skip "PostgreSQL or Redis is not installed" unless Harness::PostgresqlServer.installed? && Harness::RedisServer.installed?

      @postgresql = Harness::PostgresqlServer.new.start
      @redis = Harness::RedisServer.new.start
      @places = { "DATABASE_URL" => @postgresql.url("bulletin"), "REDIS_URL" => @redis.url }
      @postgresql.create_database("bulletin")
      Harness::Bulletin.on_database(@places)
    end)

    let(:writers_at_once) { 4 }

    it_behaves_like "a notice board"

    it "has its notices there" do
      sign_in("Lin")
      visitor.visit("/posts/new")
      visitor.submit_with_files("/posts", { "post[title]" => "Kept in PostgreSQL", "post[body]" => "text", "post[category]" => "news" }, {})
      expect(visitor.page.status).to eq(302), visitor.page.inspect
      expect(@postgresql.query("SELECT author FROM posts WHERE title = 'Kept in PostgreSQL'", database: "bulletin")).to eq([["Lin"]])
    end

    it "tells the others of a comment through Redis" do
      told = -> { @redis.command("INFO", "commandstats")[/cmdstat_publish:calls=(\d+)/, 1].to_i }
      before = told.call
      sign_in("Grace")
      visitor.visit("/posts/2")
      visitor.submit("/posts/2/comments", "comment[body]" => "Seen at once")
      expect(visitor.page.status).to eq(302), visitor.page.inspect
      eventually("the broadcast") { told.call > before }
    end

    it "has one connection for each worker thread at most" do
      Harness::Load.during(server, "/posts/1", connections: 8) { |load| load.wait_for(200) }
                   .then { |outcomes| expect(outcomes.map(&:kind).uniq).to eq([200]) }
      expect(@postgresql.backends.size).to be_between(1, 2 * 2)
    end
  end
end
